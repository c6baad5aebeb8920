"""Certificates: files, storage, a local authority, ACME, and the keeper that renews them.

This package imports nothing by itself. `names`, `settings`, `state` and `messages` are light; the others import
`cryptography`, and `client` also `acme`: who has no certificates configured imports none of them.
"""
