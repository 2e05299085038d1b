"""Serverless anonymous authentication. functions/README.md shows the data flow."""
