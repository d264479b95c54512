"""Model profile: the abilities of a model, as LangChain describes them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from langchain_core.language_models import ModelProfile

if TYPE_CHECKING:
    from ..protocol.features import ServerFeatures

__all__ = ["DEFAULT_PROFILE", "to_profile"]

DEFAULT_PROFILE = ModelProfile(
    text_inputs=True,
    text_outputs=True,
    image_outputs=False,
    audio_outputs=False,
    video_outputs=False,
    pdf_inputs=False,
    pdf_tool_message=False,
    image_url_inputs=False,
    temperature=True,
    # Makes agents send a schema for their answer instead of offering a tool for it.
    structured_output=True,
    tool_calling=True,
    tool_choice=True,
)
"""The profile before the server has been asked."""

EFFORTS = ["low", "medium", "high"]
"""The efforts to offer if the chat template takes an effort."""


def to_profile(features: ServerFeatures) -> ModelProfile:
    """Return the profile of a model; abilities that the server does not report are left out."""
    reported = {
        "name": features.models[0].id if features.models else None,
        "max_input_tokens": features.context_size or None,
        # The server has the files of the weights.
        "open_weights": True if features.model_path else None,
        "tool_call_streaming": _streams_calls(features),
        "reasoning_output": features.thinks,
        "reasoning_effort_levels": EFFORTS if features.efforts else None,
        **_input_abilities(features),
    }
    known: Any = {name: value for name, value in reported.items() if value is not None}
    return ModelProfile(**{**DEFAULT_PROFILE, **known})


def _streams_calls(features: ServerFeatures) -> bool | None:
    """Return whether calls are streamed, None if unknown."""
    if features.tools is False:
        return True  # as JSON, whatever the server
    # mlxcel up to v0.4.2, which does not report its build, leaves calls out of some streams.
    return features.tools if features.build else None


def _input_abilities(features: ServerFeatures) -> dict[str, bool]:
    """Return the abilities to see and hear, if the server reports any."""
    if not (features.engine == "llama.cpp" or features.modalities or features.only_text):
        return {}
    sees = "vision" in features.modalities
    return {
        "image_inputs": sees,
        "image_tool_message": sees,
        "audio_inputs": "audio" in features.modalities,
        "video_inputs": "video" in features.modalities,
    }
