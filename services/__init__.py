"""The processes of coursegen, one package each, and the kernel they share.

Path, module and process have one name: ``python -m services.api`` runs ``services/api``.
"""
