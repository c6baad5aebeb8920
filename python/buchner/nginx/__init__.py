"""The nginx.conf front end: lexer, parser, a table of directives per nginx module, the adapter to gateway.toml."""
