"""Model profile: the abilities of a model, as LangChain describes them."""

from __future__ import annotations

from langchain_core.language_models import ModelProfile

from ..protocol.features import ServerFeatures

__all__ = ["DEFAULT_PROFILE", "to_profile"]

DEFAULT_PROFILE = ModelProfile(
    text_inputs=True,
    text_outputs=True,
    temperature=True,
    # Makes agents send a schema for their answer instead of offering a tool for it.
    structured_output=True,
    tool_calling=True,
    tool_choice=True,
    image_url_inputs=False,
)
"""The profile before the server has been asked."""


def to_profile(features: ServerFeatures) -> ModelProfile:
    """Return the profile of a model; abilities that the server does not tell are left out."""
    profile = ModelProfile(**DEFAULT_PROFILE)
    if features.context_size:
        profile["max_input_tokens"] = features.context_size
    if features.tools is not None:
        profile["tool_calling"] = profile["tool_choice"] = features.tools
    if features.models:
        profile["name"] = features.models[0].id
    if features.engine == "llama.cpp" or features.modalities or features.only_text:
        profile["image_inputs"] = "vision" in features.modalities
        profile["audio_inputs"] = "audio" in features.modalities
        profile["video_inputs"] = "video" in features.modalities
    return profile
