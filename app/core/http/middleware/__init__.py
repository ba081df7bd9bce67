"""The layers of a request, one file each, and the checks of Admission; stack.py has their order."""
