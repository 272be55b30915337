import sys

from keras_nonconvex_main.cli import main

sys.exit(main())
