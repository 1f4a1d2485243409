"""Runs in a pod: speaks the OpenAI chat API to those who have a key, and refuses all others."""

import hmac
import json

from tests.support.kube.programs.keys import Provider, known, serve
from tests.support.openai_answers import answer_to, completion


class Engine(Provider):
    def do_POST(self) -> None:  # noqa: N802 - the library's name
        """The one route."""
        asked = json.loads(self.content())
        said = self.headers.get("Authorization", "")
        key = next((name for name, key in known().items() if hmac.compare_digest(said, f"Bearer {key}")), None)
        if key is None:
            fault = {
                "message": "Incorrect API key provided.",
                "type": "invalid_request_error",
                "code": "invalid_api_key",
            }
            self.answer(401, json.dumps({"error": fault}).encode(), key=None)
        elif self.path != "/v1/chat/completions":
            self.answer(404, key=key)
        else:
            answer = json.dumps(completion(json.dumps(answer_to(asked))))
            self.answer(200, answer.encode(), key=key, Content_Type="application/json")


if __name__ == "__main__":
    serve(Engine)
