"""Warm-up: settings that suit an energy."""
