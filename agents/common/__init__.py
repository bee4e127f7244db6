"""What all agents share: their logs, options, HTTP servers, and the life of their process."""
