"""The audit trail: who changed what, in the table, the log and an optional webhook."""
