"""Tables and figures of finished runs. Reads files that stages wrote and the published numbers, nothing else."""
