"""DatabaseMigration: the schema of a database, brought by Jobs to what an image needs; docs/OPERATOR.md."""
