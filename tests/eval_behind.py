"""A family behind the OpenAI routes: what a peer's server looks like, with nano or a fake in it."""

import base64
import json
from email.parser import BytesParser
from email.policy import HTTP

from eval_server import as_json, as_stream, models

from stepaudio.api import StepAudio
from stepaudio.audio import Audio
from stepaudio.evaluation.systems import Conversation
from stepaudio.evaluation.systems.family import FamilySystem
from stepaudio.lm.prompts.messages import Message, ToolCallPart, assistant, system, tool_result, user


def behind(sa: StepAudio):
    """The routes of a server that has `sa` in it, in this process."""
    family = FamilySystem(sa)

    def transcriptions(body, headers):
        head = f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode()
        form = BytesParser(policy=HTTP).parsebytes(head + body)
        sound = next(p.get_payload(decode=True) for p in form.iter_parts() if p.get_filename())
        return as_json({"text": sa.transcribe(Audio.read(sound)).text})

    def chat(body, headers):
        asked = json.loads(body)
        messages = tuple(_message(turn) for turn in asked["messages"])
        answer = family.reply(Conversation(messages, tuple(asked.get("tools", ())), seed=asked["seed"]))
        deltas = [{"content": word + " "} for word in answer.text.split(" ") if word]
        for at, call in enumerate(answer.tool_calls):
            function = {"name": call["name"], "arguments": json.dumps(call["arguments"])}
            deltas.append({"tool_calls": [{"index": at, "id": f"call-{at}", "function": function}]})
        if "audio" in asked.get("modalities", []):
            pcm = (answer.audio.resample(24_000).samples.clip(-1, 1) * 32767).astype("<i2").tobytes()
            deltas.append({"audio": {"data": base64.b64encode(pcm).decode()}})
        return as_stream(*deltas)

    def speech(body, headers):
        asked = json.loads(body)
        said = family.speak(asked["input"], style=asked.get("instructions"), seed=0)
        return 200, "audio/wav", said.audio.to_wav_bytes()

    return {
        "/models": models("behind"),
        "/audio/transcriptions": transcriptions,
        "/chat/completions": chat,
        "/audio/speech": speech,
    }


def _message(turn) -> Message:
    role, content = turn["role"], turn["content"]
    if role == "system":
        return system(content)
    if role == "tool":
        return tool_result(content)
    if role == "assistant":
        calls = [
            ToolCallPart(call["function"]["name"], json.loads(call["function"]["arguments"]))
            for call in turn.get("tool_calls", [])
        ]
        return assistant(*([content] if content else []), *calls)
    if isinstance(content, str):
        return user(content)
    parts = [
        Audio.read(base64.b64decode(part["input_audio"]["data"]))
        if part["type"] == "input_audio"
        else part["text"]
        for part in content
    ]
    return user(*parts)


class JudgingMind:
    """The chat route of a judge: a language model that answers under the JSON schema it is sent."""

    def __init__(self, mind):
        from stepaudio.lm.tools.arguments import JsonGrammars

        self.mind = mind
        self.grammars = JsonGrammars(mind.folder / "tokenizer.json", mind.model.config.vocab_size)
        self.asked = 0

    def __call__(self, body, headers):
        from stepaudio.lm.sampling import Sampling

        asked = json.loads(body)
        self.asked += 1
        assert asked["temperature"] == 0
        schema = asked["response_format"]["json_schema"]["schema"]
        schema["properties"]["reason"]["maxLength"] = 60  # it would only repeat itself, and slowly
        grammar = self.grammars.make(schema)
        prompt = self.mind.prompt_ids([_message(turn) for turn in asked["messages"]])
        written, reason = [], "length"
        for token in self.mind.ids(
            prompt, sampling=Sampling(temperature=0), max_new_tokens=asked["max_tokens"], grammar=grammar
        ):
            written.append(token)
            grammar.read(written)
            if grammar.complete:
                reason = "stop"
                break
        said = self.mind.tokenizer.decode(written)
        return as_json({"choices": [{"message": {"content": said}, "finish_reason": reason}]})
