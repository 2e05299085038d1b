"""Left out of the bundle: what help() says of a client, and with it html.parser."""
