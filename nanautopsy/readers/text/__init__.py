"""Reading text logs: what every log shares, and one dialect of log line a file.

``blocks`` streams a file as UTF-8 blocks of whole lines; ``prefilter`` finds the lines that may
matter; ``lines`` strips launchers' decoration; ``dialect`` says what a dialect is; ``rows``
collects points and puts them on a step axis at the end of the file. ``dialects`` lists the dialects
in order of precedence.
"""
