"""The operators of coursegen, one package each: ``python -m operators.coursegen_operator`` runs one.

They may import `services.kernel`, and never a service: what they know of coursegen they see in the cluster.
"""
