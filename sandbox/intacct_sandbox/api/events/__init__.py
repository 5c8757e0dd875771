"""`/services/delivery/event/…`: the event queue of an application."""
