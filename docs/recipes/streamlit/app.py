"""A page to chat on, for any number of users: streamlit run app.py."""

import streamlit as st
from langchain_core.messages import AIMessage, HumanMessage

from mlxcel_integrations.langchain import ChatMlxcel


@st.cache_resource
def model() -> ChatMlxcel:
    """Return the model that all users share; its server ends with the program."""
    return ChatMlxcel(model="embedded", temperature=0, max_tokens=200)


st.title("Ask a lighthouse keeper")
history = st.session_state.setdefault("history", [])
for message in history:
    st.chat_message(message.type).write(message.text)

if question := st.chat_input("Your question"):
    history.append(HumanMessage(question))
    st.chat_message("human").write(question)
    chunks = model().stream(model().fit_messages(history))
    with st.chat_message("ai"):
        answer = st.write_stream(chunk.text for chunk in chunks)
    history.append(AIMessage(answer))
