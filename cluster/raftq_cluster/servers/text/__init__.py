"""The text protocol: a sans-IO parser and the asyncio glue round it. See DESIGN.md."""
