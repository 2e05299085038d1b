"""Replaces the package that writes help() of clients and imports html.parser."""
