"""Requests composed of several tasks."""
