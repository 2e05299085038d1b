"""Serverless anonymous authentication. README.md shows the data flow."""
