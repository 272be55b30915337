plugins {
    // It brings its own Kotlin compiler since version 9.
    alias(libs.plugins.android.application)
}

android {
    namespace = "kerasnonconvex.compare"
    compileSdk = 37

    defaultConfig {
        applicationId = "kerasnonconvex.compare"
        minSdk = 24
        targetSdk = 36
        versionCode = 1
        versionName = "1.0"
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(
                getDefaultProguardFile("proguard-android-optimize.txt"),
                "proguard-rules.pro",
            )
            // So that `installRelease` works out of the box: a key of your
            // own is for the store.
            signingConfig = signingConfigs.getByName("debug")
        }
    }

    compileOptions {
        sourceCompatibility = JavaVersion.VERSION_17
        targetCompatibility = JavaVersion.VERSION_17
    }

    // Models are mapped into memory straight from the APK.
    androidResources { noCompress += "tflite" }

    // Libraries stay uncompressed and aligned to 16 KB pages.
    packaging { jniLibs { useLegacyPackaging = false } }
}

dependencies {
    implementation(libs.litert)
    implementation(libs.litert.gpu)
    implementation(libs.androidx.activity)
    testImplementation(libs.junit)
}
