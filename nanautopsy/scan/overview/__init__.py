"""What the runs of a catalog tell together, before anything is shown.

===============  ==============================================================================
``runs``         a run of the catalog, as far as an overview needs it
``calendar``     which causes were named when
``rates``        how many of the runs with a library's version died
``groups``       runs that died alike
``details``      settings and package versions of runs, asked for when they are needed
``differences``  what healthy runs of the same kind did otherwise
``overview``     :func:`overview_of`: all of these
===============  ==============================================================================
"""
