"""What the figures show: scenes, classes and images chosen by rule, and what is computed of them before it is drawn."""
