"""The containers of torch files, and what their objects say."""
