-- Redis' time in milliseconds: what is compared with it later must have been asked before PostgreSQL was.
return now_ms()
