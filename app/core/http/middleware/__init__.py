"""The layers of a request, one file each; stack.py has their order."""
