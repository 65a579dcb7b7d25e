"""Protocols with one rule removed, each by the smallest change: an overridden method. Named ``Unsafe...``.

Nothing imports these modules; they are found by name (``package.module:ClassName``), as every protocol is.
"""
