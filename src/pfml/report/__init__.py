"""Tables of finished runs and the page. Reads files that stages wrote and the published numbers, nothing else."""
