"""Reading text logs: what every log shares, and one dialect of log line a file.

``blocks`` streams a file as UTF-8 blocks of whole lines; ``segments`` cuts a block at its line ends
and takes the digits out of each piece; ``skeletons`` knows which of what is left can matter, with
``prefilter`` looking for triggers in what is new; ``shapes`` decides once for each shape of line
what is to be done with it; ``batches`` does it for many lines at a time, by ``patterns``; ``lines``
strips launchers' decoration; ``dialect`` says what a dialect is; ``rows`` collects points and puts
them on a step axis at the end of the file. ``dialects`` lists the dialects in order of precedence.
"""
