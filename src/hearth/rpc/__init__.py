"""gRPC and the wire contract; nothing of models."""
