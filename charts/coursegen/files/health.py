"""Every Service of the installation answers, and the api is ready."""

import json
import os
import time
import urllib.request

url = os.environ["API_URL"] + "/api/trpc/metrics.healthCheck"
deadline = time.monotonic() + float(os.environ["TIMEOUT_SECONDS"])
while True:
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            print(json.dumps(json.load(answer), indent=2))
            break
    except OSError as error:
        if time.monotonic() > deadline:
            raise SystemExit(f"{url}: {error}") from error
        time.sleep(1)
