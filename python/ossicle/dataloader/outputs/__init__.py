"""What a pipeline left on disk about recordings: read, joined into one manifest, and filtered.

`processor` and `registry` have what extracts metadata, `adapters` what reads the outputs of others,
`store` what keeps one's own; `manifest` and `joiner` are the tables, `build` makes the one of all.
"""
