"""Names that give whoever calls them the machine: programs, files, network, other code.

Collected from what Python's documentation says of its modules, and from the published lists of
picklescan, fickling and ModelScan, whose findings each made one bypass known. What ordinary
checkpoints name (enumerations of ``signal``, loggers, ``uuid.UUID``) is excepted.
"""

from __future__ import annotations

import re

MODULES = frozenset(
    """
    os nt posix subprocess _posixsubprocess _winapi sys pty popen2 mailcap pipes.Template
    commands.getoutput commands.getstatusoutput commands.getstatus
    runpy code.InteractiveInterpreter code.InteractiveConsole code.interact codeop compileall
    py_compile zipapp importlib _frozen_importlib imp _imp
    _frozen_importlib_external pkgutil zipimport modulefinder gc site atexit
    unittest doctest test.support test.libregrtest test.__main__ trace.Trace trace.main cProfile
    profile.run profile.runctx profile.Profile pdb bdb timeit pydoc rlcompleter idlelib lib2to3
    _pyrepl pyrepl webbrowser antigravity cgi cgitb turtledemo
    asyncio socket _socket ssl _ssl http httplib urllib urllib2 urllib3 requests aiohttp httpx
    ftplib smtplib smtpd poplib imaplib nntplib telnetlib socketserver xmlrpc wsgiref asyncore
    asynchat select selectors paramiko fabric
    ctypes _ctypes cffi mmap winreg _winreg msilib win32api win32com pythoncom pyximport Cython
    shutil tempfile fileinput linecache glob zipfile tarfile shelve dbm sqlite3 _sqlite3 syslog
    venv ensurepip pip setuptools pkg_resources distutils
    pexpect ptyprocess sh.Command plumbum execnet IPython concurrent
    pickle _pickle cPickle marshal numexpr jinja2.environment jinja2.Template
    yaml.load yaml.unsafe_load yaml.full_load yaml.load_all yaml.unsafe_load_all
    anydbm whichdb dbhash dumbdbm SocketServer BaseHTTPServer SimpleHTTPServer CGIHTTPServer
    xmlrpclib
    _osx_support _aix_support
    torch.hub torch.jit torch._inductor torch._dynamo torch.fx.experimental torch.package
    torch.ops torch.classes torch.export torch._export torch.testing torch.compile torch.load
    torch.utils.cpp_extension torch.utils.bottleneck torch.utils.collect_env torch.from_file
    torch.utils._config_module torch.utils.data.datapipes torch.utils.model_dump
    torch.utils.show_pickle torch.distributed.rpc torch.distributed.elastic torch.distributed.run
    torch.distributed.launch torch.distributed.launcher torch.multiprocessing.spawn
    torch.serialization.load torch.serialization._load torch.serialization._legacy_load
    numpy.f2py numpy.distutils numpy.testing numpy.ctypeslib numpy.load numpy.loads numpy.save
    numpy.savez numpy.savetxt numpy.fromfile numpy.genfromtxt numpy.loadtxt numpy.DataSource
    numpy.lib.npyio numpy.lib._npyio_impl numpy.lib._datasource numpy.core.records.fromfile
    pandas.eval pandas.io pandas.read_pickle pandas.core.computation joblib.load joblib.dump
    joblib.numpy_pickle.load joblib.memory sympy.core.sympify sympy.sympify
    multiprocessing.util multiprocessing.spawn multiprocessing.forkserver
    multiprocessing.resource_tracker multiprocessing.popen_fork multiprocessing.popen_spawn_posix
    multiprocessing.popen_spawn_win32 multiprocessing.popen_forkserver
    codecs.open logging.FileHandler logging.handlers logging.config logging.basicConfig
    threading.Thread threading.Timer threading.settrace threading.setprofile
    _thread.start_new_thread _thread.start_new _thread.interrupt_main
    io.FileIO io.open io.open_code _io.FileIO _io.open _io.open_code
    operator.attrgetter operator.methodcaller operator.call functools.reduce
    _operator.attrgetter _operator.methodcaller _operator.call _functools.reduce
    platform.popen platform.architecture
    copyreg.add_extension copyreg.pickle copyreg.constructor
    """.split()
)
"""Modules and names; whatever lies in them counts too. Where people give their own packages a
module's name (``test``, ``code``, ``commands``), only what the library has under it."""

HARMLESS = frozenset(
    """
    os.PathLike os.stat_result os.terminal_size sys.float_info sys.int_info sys.version_info
    urllib.parse http.HTTPStatus http.cookiejar.Cookie
    torch.jit._pickle torch.jit._script.RecursiveScriptModule torch.jit._script.ScriptModule
    torch._dynamo.eval_frame.OptimizedModule torch.utils.data.datapipes.datapipe
    torch.utils.data.datapipes.iter torch.utils.data.datapipes.map
    torch.utils.data.datapipes._typing
    concurrent.futures._base.CancelledError concurrent.futures._base.TimeoutError
    select.error socket.AddressFamily socket.SocketKind ssl.TLSVersion ssl.VerifyMode
    importlib.metadata.PackagePath
    """.split()
)
"""What lies in these modules and is data."""

BUILTINS = frozenset({"builtins", "__builtin__", "__builtins__"})
BUILTIN_NAMES = frozenset(
    """
    eval exec execfile compile open file input raw_input __import__ apply breakpoint globals
    locals vars delattr setattr exit quit help reload
    """.split()
)

CODE = frozenset(
    """
    cloudpickle dill types.CodeType types.FunctionType types.LambdaType new.code new.function
    torch.fx.graph_module ray.cloudpickle joblib.externals.cloudpickle
    torch.utils._import_utils
    """.split()
)
"""What rebuilds functions from program code inside the pickle."""

PATTERNS = tuple(
    re.compile(pattern)
    for pattern in (
        # Methods of a path; the classes alone are data.
        r"pathlib\.(_local\.)?(?!_local\.)\w+\.\w+",
        r"_?uuid\.(?!UUID$|SafeUUID)\w+",
        r"_?signal\.(?!Signals|Handlers|Sigmasks|SIG)\w+",
        r"platform\._\w+",
        r"multiprocessing\.(\w+\.)*(Process|Pool|Popen|ThreadPool|Client|Listener)",
        r"torch\.(\w+\.)*from_file",
    )
)

VERBS = frozenset(
    """
    eval exec execfile system popen popen2 popen3 Popen check_output check_call getoutput
    getstatusoutput execl execle execlp execv execve execvp execvpe spawnl spawnv spawnve spawnlp
    spawnvp runcode runsource runcommand run_code _run_code run_module run_path runstring runctx
    import_module __import__ load_module exec_module execWrapper load_library LoadLibrary CDLL
    evaluate_guards_expression debug_script startfile fork
    """.split()
)
"""Names that say what they do in whatever module they are called."""

MODULES_BEHIND = frozenset(
    """
    os sys subprocess builtins __builtins__ importlib shutil socket ctypes pickle runpy posix nt
    """.split()
)
"""Modules that others import, and that a dotted name reaches through them: ``numpy.os.system``."""

DUNDERS = frozenset(
    """
    __globals__ __builtins__ __subclasses__ __getattribute__ __getattr__ __code__ __closure__
    __loader__ __import__ __mro__ __bases__ __base__ __dict__ __call__ __func__ __self__
    __init_subclass__ __reduce__ __reduce_ex__ __class_getitem__ __setattr__ __delattr__
    """.split()
)
"""Attributes through which anything is reached from anything."""
