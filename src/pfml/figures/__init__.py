"""Drawing: one file a figure, one style, PNG and PDF; what is shown is chosen and computed in pfml.views."""
