"""Parts of the network beside its timm backbone: BN-Inception, pooling and heads, weights and where they come from."""
