"""HTTP: the v1 dialect with its OpenAPI document, pages for operators, and TaskQ's dialect.

``DESIGN.md`` beside this file says how the parts fit. Source: RFC 9110, RFC 9112, RFC 9457.
"""
