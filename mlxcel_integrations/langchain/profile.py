"""What LangChain is told about a model's abilities."""

from __future__ import annotations

from langchain_core.language_models import ModelProfile

from ..protocol.features import ServerFeatures

__all__ = ["DEFAULT_PROFILE", "to_profile"]

DEFAULT_PROFILE = ModelProfile(
    text_inputs=True,
    text_outputs=True,
    temperature=True,
    # Makes agents ask for a schema instead of calling a tool for their answer.
    structured_output=True,
    tool_calling=True,
    tool_choice=True,
    image_url_inputs=False,
)
"""What holds without asking the server."""


def to_profile(features: ServerFeatures) -> ModelProfile:
    """Return what is known once the server has been asked; what it does not tell is left out."""
    profile = ModelProfile(**DEFAULT_PROFILE)
    if features.context_size:
        profile["max_input_tokens"] = features.context_size
    if features.tools is not None:
        profile["tool_calling"] = profile["tool_choice"] = features.tools
    if features.models:
        profile["name"] = features.models[0].id
    if features.engine == "llama.cpp" or features.modalities:
        profile["image_inputs"] = "vision" in features.modalities
        profile["audio_inputs"] = "audio" in features.modalities
        profile["video_inputs"] = "video" in features.modalities
    return profile
