"""The voice chat page as a script of your own: change the voices, the port, or what stands around it."""

import uvicorn

import stepaudio
from stepaudio.page.server import application

if __name__ == "__main__":
    uvicorn.run(application(stepaudio.load(), voices=["ada", "ben"]), port=7860)
