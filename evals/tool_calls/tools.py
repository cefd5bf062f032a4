"""The four tools of the protocol, answering from thin air: only the calls are measured."""

from typing import Literal


def get_date_time(timezone: str | None = None) -> str:
    """Return the current date, weekday and time.

    Args:
        timezone: City or country to tell the time of.

    Examples:
        What time is it?
        What day is it today?
        Tell me today's date.
        What time is it in Sydney?
    """
    return f"It is Tuesday, the fifth of March, half past three{' in ' + timezone if timezone else ''}."


def get_weather(location: str | None = None, day: Literal["today", "tomorrow", "week"] = "today") -> str:
    """Return the weather forecast for a place.

    Args:
        location: City or region; here when it is left out.
        day: The time of the forecast.

    Examples:
        What's the weather like in Rome?
        Will it rain tomorrow?
        How cold is it outside?
        Do I need an umbrella today?
    """
    return f"{location or 'Here'} {day}: sunny, 20 degrees."


def web_search(query: str) -> str:
    """Search the web for current facts: news, prices, results, opening hours.

    Args:
        query: What to search for.

    Examples:
        Search the web for vegan recipes.
        Look up the price of gold.
        What's in the news today?
        Who won the game last night?
    """
    return f"The first result for {query}."


def timbre_search(description: str) -> str:
    """Change the voice that speaks to another person's voice.

    Args:
        description: What the voice should be like.

    Examples:
        Talk to me in a deep male voice.
        Can you sound like an old woman?
        Switch to a different voice.
        I'd like a sweet young girl's voice.
    """
    return "The voice was changed."


TOOLS = [get_date_time, get_weather, web_search, timbre_search]
