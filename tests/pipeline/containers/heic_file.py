"""A HEIC file, as no decoder can write one: 64 x 48 pixels, RGB and alpha, with EXIF."""

import base64
import zlib

HEIC = zlib.decompress(
    base64.b64decode(
        "eNplUkFoE0EU/bPbjQFrKqg1aCzpQQw9JRVRgkhsUvGSiyfBS9fNbjN0Nxk2aYi3toRQD4VSpUgu9iSoEPFSqqcVBG899KBHKxYF"
        "QSiKkENL+v/spiX1s7Pz5/33Z+b9+QAQs6qPRNHkBqA53EqR73DdAlDWHLOqg2+jxYLtBj4IblThmN3hdlluksuACow85aM/o90E"
        "hSYVDpEoLRCJHiJjOPKclywIqHAOF6ZMRE6xZqSgD1T+BxnlTda53CMieNWBIJ294sIVOC9wYZQRq2FulqkIwbIkjezC3n6nAzCk"
        "TmFGNMMGWbdLBJUYKn0j75WMjsGxCcaORdbi89rqr50X7zbCxWQcIZV+MPoQ6aEc+1DxHuMhZ4yy7ZYMu47oKQjNIXSWV4QZ1CAT"
        "jIRh6yLwqT5JOKqc0u12d335cFrwOpflCofD9DJS1AC5zzs9UXtHos77ooigSgbevafpMmrqD3gLA8MPXq+0fnh4z8E5Ahv9ciK9"
        "8xkdeUWfrWdpNeuW0o4wp9NFs2akx5Opa2kM8UJaPlacC6fXVwowbV5RtQYoWlM9sdgg8dw1rSAewTybWFJ+xChUDNletGo6BZ36"
        "8EaCvTk59e9n7P7d67Gldm7z88XxT57m3VtdvrX1e/KJ1prJfln/uvLSexvbaU1sLO1b39e3Ny9tU/ETrD3sbXWai7enrzb+PGsn"
        "n377i3jIb6J8XrZlGBgbkgUP4bhAF8vrM6YLB5BlquE="
    )
)
