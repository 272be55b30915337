import sys

from keras_nonconvex.cli import main

sys.exit(main())
