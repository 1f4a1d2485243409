"""Runs in a pod: makes a course from the documents in /documents through the Service; prints it as JSON."""

import json
import os
import pathlib
import sys
import time

import httpx

DEADLINE = time.monotonic() + float(os.environ.get("TIMEOUT_SECONDS", "240"))


def main() -> None:
    headers = {"Authorization": f"Bearer {os.environ['API_TOKEN']}"}
    with httpx.Client(base_url=os.environ["API_URL"], headers=headers, timeout=30) as client:
        course = client.post("/api/courses", json={"title": "Through the Service"}).raise_for_status().json()["id"]
        for path in sorted(pathlib.Path("/documents").iterdir()):
            if path.is_file():
                files = {"file": (path.name, path.read_bytes())}
                client.post(f"/api/courses/{course}/documents", files=files).raise_for_status()
        client.post("/api/trpc/generation.initiate", json={"courseId": course}).raise_for_status()
        while time.monotonic() < DEADLINE:
            answer = client.get(f"/api/courses/{course}/result")
            if answer.status_code == 200:
                print(json.dumps({"id": course, "course": answer.json()}))
                return
            if answer.status_code != 409:
                sys.exit(f"{answer.status_code}: {answer.text}")
            time.sleep(1)
        sys.exit(client.get(f"/api/courses/{course}").text)


main()
