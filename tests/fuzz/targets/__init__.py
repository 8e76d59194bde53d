"""The targets, one module each; the module's name is the target's."""
