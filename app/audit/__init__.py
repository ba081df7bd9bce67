"""The audit trail: who changed what, written with the change, told to the outside afterwards."""
