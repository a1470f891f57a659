/* module -- netflow._weir. */
#include "ext.h"

static PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "netflow._weir",
    .m_doc = "What the package netflow takes from libweir.",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__weir(void)
{
    PyObject *module = PyModule_Create(&definition);
    if (!module)
        return NULL;
    if (PyModule_AddStringConstant(module, "version", weir_version()) < 0 ||
        weir_py_add_record(module) < 0 || weir_py_add_state(module) < 0 ||
        weir_py_add_packet(module) < 0 || weir_py_add_receive(module) < 0 ||
        weir_py_add_arrow(module) < 0) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
