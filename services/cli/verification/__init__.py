"""Ten checks of a deployment, judged in one place from facts that several collectors bring.

`checks` judges, `advice` says what to do next, `report` shows it: plain Python without any library, since
scripts/verify-deployment.sh runs them with whatever Python 3.9 or newer it finds. `folder` reads what that script has
collected by psql, redis-cli and curl; `collecting` asks the same by the kernel's own connections, for `coursegen verify` and,
sent into a pod as text, for the script on a cluster.
"""
