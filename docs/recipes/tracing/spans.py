"""What OpenTelemetry is told of a request."""

import os

from langchain_core.tracers.langchain import wait_for_all_tracers
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from mlxcel_integrations.langchain import ChatMlxcel

# LangChain's tracer reads these: spans are made, and nothing is sent to LangSmith.
for name in ("LANGSMITH_TRACING", "LANGSMITH_OTEL_ENABLED", "LANGSMITH_OTEL_ONLY"):
    os.environ[name] = "true"

exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)

with ChatMlxcel(model="embedded", temperature=0, max_tokens=32) as llm:
    llm.invoke("What is the capital of France?")

wait_for_all_tracers()
for span in exporter.get_finished_spans():
    print(span.name)
    for name, value in span.attributes.items():
        if name.startswith("gen_ai."):
            print(f"  {name} = {value!s:.60}")
