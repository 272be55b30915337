package androidx.lifecycle

import android.app.Application

interface ViewModelStoreOwner

abstract class ViewModel {
    protected open fun onCleared() {}

    internal fun clear() = onCleared()
}

open class AndroidViewModel(application: Application) : ViewModel()

class ViewModelProvider(owner: ViewModelStoreOwner) {
    operator fun <T : ViewModel> get(modelClass: Class<T>): T = TODO()
}
