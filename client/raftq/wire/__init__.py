"""The public contract: documents, codes, limits and formats that clients and nodes share.

This package does no IO and knows neither a client nor a server. Whatever is here is what
``docs/http.md`` and ``docs/text-protocol.md`` describe; the node imports nothing else of the client.
"""
