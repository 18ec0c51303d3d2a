"""Model families: each a folder with its settings, loader, model and tasks."""
