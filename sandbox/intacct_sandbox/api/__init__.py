"""What a client speaks to: one folder a service, each with its URLs and its responses."""
